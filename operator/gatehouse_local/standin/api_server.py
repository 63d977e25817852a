"""What `python3 -m vllm.entrypoints.openai.api_server` runs in the stand-in's image, which has this file there."""

import sys

from gatehouse_local.standin.server import main

if __name__ == "__main__":
    sys.exit(main())
