"""From pictures to points: backends, the detector, the point network, the tracker and the choice of a face."""
