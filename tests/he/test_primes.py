import math

from fedpriv.he.primes import batching_prime


def test_batching_primes_agree_with_trial_division():
    def is_prime(number):
        return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))

    for start in (1, 17, 1000, 12_345):
        brute = next(number for number in range(start, 10**6) if number % 16 == 1 and is_prime(number))
        assert batching_prime(start, 8) == brute
