"""Systems that learn the same tokens meet on equal terms, and claims about them become numbers."""
