"""Pure functions on points and pictures' places: topology, pose, frames, crops and affine maps, without torch."""
