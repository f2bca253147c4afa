"""A page in a real headless Chromium against a real server of two workers: streams through tickets, across origins."""
