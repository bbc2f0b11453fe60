"""The page: Gradio components, and all state of the server."""
