module localjuju/inpod

go 1.25
