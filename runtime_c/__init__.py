"""C sources that travel with generated code (package data)."""
