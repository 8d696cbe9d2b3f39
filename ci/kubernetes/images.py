IMAGES: dict = {}
