"""A quality model beside every analytic score on the same rows."""
