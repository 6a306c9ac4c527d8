"""The head as a solid: a portrait's surface in space, and where its pixels are seen once the head has turned."""
