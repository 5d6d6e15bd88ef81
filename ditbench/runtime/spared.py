"""What the server of processes imports before anything else: libraries that it imports are spared damaged metadata."""

from ..discovery import spare_libraries

spare_libraries()
