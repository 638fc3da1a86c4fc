"""tltools judges transfer learning: does it help here, by how much, with which strategy, and is it real?"""

__version__ = "0.1.0"
