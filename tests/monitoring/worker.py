"""A worker for the tests: `python -m tests.monitoring.worker` runs jobs until it is ended."""

import time

from carbon_sdk import track

while True:
    with track("job"):
        sum(range(20_000))
    time.sleep(0.05)
