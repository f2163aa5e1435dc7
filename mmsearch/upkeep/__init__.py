"""What keeps a gallery and what it holds: `info`, `duplicates`, `export`, `import`, `forget`, `relocate`, `compact`,
`cache`."""
