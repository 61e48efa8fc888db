"""Everything numba: functions of arrays and scalars. This module imports nothing."""
