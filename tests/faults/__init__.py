"""Tests with real faults at named moments: a plan says which process is killed or which call fails. Nothing is mocked.

The faults are killed processes and nodes, full disks, lost replies, signals and servers with bad replies.
"""
