"""PINet in JAX: complete poses of everybody in a crowd, in one compiled program."""
