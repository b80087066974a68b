"""Everything that torch computes: the step, packed weights, caches, the compute thread, the allocator."""
