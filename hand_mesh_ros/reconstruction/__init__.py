"""From tracks to root-relative meshes."""
