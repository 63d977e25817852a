"""Recorded logs of vLLM."""

from __future__ import annotations

from pathlib import Path

LOGS = Path(__file__).parent / "vllm" / "logs"
