"""`python -m emulators apns|fcm`."""

import sys

from emulators.program import main

sys.exit(main())
