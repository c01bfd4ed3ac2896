"""Measures two implementations of distcc beside each other; docs/performance.md says what and how."""
