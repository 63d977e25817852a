"""Long runs that are no part of CI: `make soak`. Each takes its count from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutants", type=int, default=1_000_000, help="mutants of each format")
    parser.addoption("--objects", type=int, default=100_000, help="objects of each kind")
    parser.addoption("--packages", type=Path, help="folder that keeps the archives of packages for the next run")
    parser.addoption(
        "--seed", type=int, default=0, help="what the mutants are drawn from; the same ones for the same seed"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def mutants(request: pytest.FixtureRequest) -> int:
    """How many mutants of each format."""
    return int(request.config.getoption("--mutants"))


@pytest.fixture(scope="session")
def objects(request: pytest.FixtureRequest) -> int:
    """How many objects of each kind."""
    return int(request.config.getoption("--objects"))


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The first seed of the random numbers."""
    return int(request.config.getoption("--seed"))
