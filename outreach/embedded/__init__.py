"""Servers that need no installation, and the supervisor of child processes. For laptops, demos and tests.

`servers.start_servers` yields the two URLs; `supervisor.Supervisor` runs named commands. Only `outreach up`,
`outreach demo` and the tests come here: production has its URLs and its own process manager.
"""
