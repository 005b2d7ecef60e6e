"""How long it takes until work goes on after something has died: `make recovery`.

Each scene of `scenes` brings one event about again and again, and measures it each time; `ticks` kills nodes that have
a schedule. The bar of each stands in `__main__`.
"""
