"""The suite of faults: real processes on real servers, broken on purpose, judged by the provider's own log."""
