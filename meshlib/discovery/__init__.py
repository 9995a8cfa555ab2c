"""What orchestrators and files say -> `Snapshot`. Pure: engine JSON comes in decoded, time comes in
as a number.
"""
