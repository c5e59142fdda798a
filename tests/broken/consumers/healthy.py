"""Not broken: the control. It passes whatever the others are caught by."""

from plain import Consumer

if __name__ == "__main__":
    Consumer().run()
