"""What is fitted to the points of clips, without pictures and without training: shape basis, forehead, motions."""
