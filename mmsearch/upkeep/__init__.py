"""What keeps a gallery and what it holds: `info`, `export`, `import`, `forget`, `relocate`, `compact`, `cache`."""
