"""The demo: questions of the pocket model's world, drawn anew, that `mmpr demo` builds from."""
