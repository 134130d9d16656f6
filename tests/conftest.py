"""Settings that all tests share."""

from hypothesis import settings

# Fixed examples, so that a failure is the same everywhere; no deadline, since nothing here is a
# timed test and the first call may import a library.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
