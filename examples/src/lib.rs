//! Short programs that use Shoal as a library user would.
