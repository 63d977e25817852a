"""The servers that other systems' clients talk to: each reads rows, and writes objects as the person who asks."""
