"""`python -m mmpr`, the same as `mmpr`."""

from mmpr.cli import main

if __name__ == "__main__":
    main()
