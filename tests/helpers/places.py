"""Where things are, for what cannot ask a fixture: parameters of tests, code run in other processes."""

from pathlib import Path

HELPERS = Path(__file__).resolve().parent
ROOT = HELPERS.parent.parent
DRIVERS = ROOT.parent / "shared" / "data" / "drivers"
PORTRAITS = DRIVERS.parent / "portraits"
