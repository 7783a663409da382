"""What screens and the command line share and is not the network: settings, figures."""
