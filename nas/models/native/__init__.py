"""The compiled CPU kernels: C++ sources, their build, and the modules that call them."""
