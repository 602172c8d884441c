"""`python -m mmpr`, the same as `mmpr`."""

from mmpr.cli.verbs import main

if __name__ == "__main__":
    main()
