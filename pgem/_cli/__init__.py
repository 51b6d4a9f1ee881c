"""The command line's parts: loading model files, reading tables, and the commands."""
