"""The HTTP interface: application, routes, problem documents."""
