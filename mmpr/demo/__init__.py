"""The demo: new questions of the pocket model's world, from which `mmpr demo` builds pairs."""
