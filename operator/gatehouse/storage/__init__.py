"""Object storage behind one port."""

import sys
from types import ModuleType
from typing import cast

# botocore imports the adapter for pyOpenSSL where the package is installed: 9 MiB for connections that only botocore
# makes. Gatehouse makes its connections itself.
sys.modules.setdefault("urllib3.contrib.pyopenssl", cast("ModuleType", None))
