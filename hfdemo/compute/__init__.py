"""What torch computes: the step, packed weights, caches, the thread it runs in, the allocator."""
