import sys

from gatewayctl.app import main

sys.exit(main())
