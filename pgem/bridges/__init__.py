"""One file per optional dependency; none is imported before it is used."""
