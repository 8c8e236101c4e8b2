"""The torch tower: the only folder that imports torch. Nobody below imports it; commands do, inside their bodies."""
