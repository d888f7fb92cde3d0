"""ComfyUI from outside: its folder, a server's process, HTTP and websocket."""
