"""`reenact check`: is this picture or video good enough, and why not.

measures -> limits -> portrait, driver -> report -> draw
"""
