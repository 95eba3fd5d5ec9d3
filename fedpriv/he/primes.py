"""Primes for plaintext moduli."""


def batching_prime(at_least: int, slots: int) -> int:
    """Return the smallest prime p >= at_least with p = 1 mod 2 * slots."""
    modulus = 2 * slots
    candidate = at_least + (1 - at_least) % modulus
    while not _is_prime(candidate):
        candidate += modulus
    return candidate


def _is_prime(number: int) -> bool:
    """Miller-Rabin with the twelve bases that decide every number below 3.3e24 (Sorenson, Webster 2015)."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    if number < 2 or any(number % base == 0 for base in bases):
        return number in bases
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True
