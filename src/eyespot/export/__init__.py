"""Floor 7: bundles written in other runtimes' formats, each proven to answer as its source does."""
